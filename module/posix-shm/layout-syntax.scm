;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm layout-syntax) - what define-shm-layout expands to.

(define-module (posix-shm layout-syntax)
  #:use-module (ice-9 match)
  #:use-module (posix-shm layout)
  #:use-module (posix-shm shape)
  #:use-module (rnrs bytevectors)
  #:use-module ((srfi srfi-1) #:select (append-map fold map take))
  #:use-module ((system syntax) #:select (syntax-local-binding))
  #:export (expand-layout
            expand-accessor))

(define (literal datum)
  (datum->syntax #'here datum))

;; What accesses to numbers at a byte offset expand to.
(define numbers
  `((u8 ,#'bytevector-u8-ref ,#'bytevector-u8-set!)
    (s8 ,#'bytevector-s8-ref ,#'bytevector-s8-set!)
    (u16 ,#'bytevector-u16-native-ref ,#'bytevector-u16-native-set!)
    (s16 ,#'bytevector-s16-native-ref ,#'bytevector-s16-native-set!)
    (u32 ,#'bytevector-u32-native-ref ,#'bytevector-u32-native-set!)
    (s32 ,#'bytevector-s32-native-ref ,#'bytevector-s32-native-set!)
    (u64 ,#'bytevector-u64-native-ref ,#'bytevector-u64-native-set!)
    (s64 ,#'bytevector-s64-native-ref ,#'bytevector-s64-native-set!)
    (f32 ,#'bytevector-ieee-single-native-ref
         ,#'bytevector-ieee-single-native-set!)
    (f64 ,#'bytevector-ieee-double-native-ref
         ,#'bytevector-ieee-double-native-set!)))

(define (number type)
  (assq type numbers))


;;; Accessors.

(define-syntax-rule (checked-index name index count)
  (let ((i index))
    (if (and (exact-integer? i) (<= 0 i) (< i count))
        i
        ((@ (posix-shm layout) refuse-index) 'name i count))))

(define (element-offset name offset size counts indices)
  "Return an expression for the offset of an element at INDICES, of SIZE bytes."
  (match indices
    (() offset)
    ((index . rest)
     #`(+ (* #,(* size (elements (cdr counts)))
             (checked-index #,(literal name) #,index #,(car counts)))
          #,(element-offset name offset size (cdr counts) rest)))))

(define (expand-offset x name offset size counts)
  (syntax-case x ()
    ((_ index ...)
     (<= (length #'(index ...)) (length counts))
     (element-offset name offset size counts #'(index ...)))
    ((_ . _) (syntax-violation name "too many indices" x))
    (_ #`#,offset)))

(define (expand-access x name offset size counts n body)
  "Expand X, the use of an accessor NAME with N arguments, an index for each of
COUNTS, and an optional base.  BODY takes expressions of the offset and of the N
arguments, and returns that of the access."
  (define all (+ n (length counts)))
  (define (access base arguments)
    (let ((k (element-offset name offset size counts (list-tail arguments n))))
      (apply body (if base #`(+ #,base #,k) k) (list-head arguments n))))
  (syntax-case x ()
    ((_ argument ...)
     (= all (length #'(argument ...)))
     (access #f #'(argument ...)))
    ((_ argument ... base)
     (= all (length #'(argument ...)))
     (access #'base #'(argument ...)))
    ((_ . _) (syntax-violation name "wrong number of arguments" x))
    (_
     (with-syntax (((argument ...) (generate-temporaries (iota all)))
                   (own-name (literal name)))
       ;; The name is a property, not a variable that BODY could see.
       #`(lambda* (argument ... #:optional (base 0))
           #((name . own-name))
           #,(access #'base #'(argument ...)))))))

(define (expand-getter x name offset size type counts)
  (define (view type counts)
    (expand-access x name offset size '() 1
                   (lambda (k bv)
                     #`((@ (posix-shm layout) field-view)
                        #,bv #,k '#,(literal type) '#,(literal counts)))))
  (define (element body)
    (expand-access x name offset size counts 1 body))
  (match type
    (('bytes n) (view 'vu8 (append counts (list n))))
    (('string _)
     (element (lambda (k bv)
                #`((@ (posix-shm layout) field-string)
                   '#,(literal name) #,bv #,k #,size))))
    (('channel _)
     (element (lambda (k bv)
                #`((@ (posix-shm layout) field-channel) #,bv #,k #,size))))
    ((= number (_ ref _))
     (if (null? counts)
         (element (lambda (k bv) #`(#,ref #,bv #,k)))
         (view type counts)))))

(define (expand-setter x name offset size type counts)
  (expand-access
   x name offset size counts 2
   (match type
     (('string _)
      (lambda (k bv value)
        #`((@ (posix-shm layout) set-field-string!)
           '#,(literal name) #,bv #,k #,size #,value)))
     ((= number (_ _ set))
      (lambda (k bv value) #`(#,set #,bv #,k #,value))))))

(define (expand-accessor x kind name offset size type counts)
  "Expand X, the use of an accessor NAME of a field of TYPE and COUNTS at
OFFSET, whose elements have SIZE bytes."
  (match kind
    ('offset (expand-offset x name offset size counts))
    ('get (expand-getter x name offset size type counts))
    ('set (expand-setter x name offset size type counts))))


;;; The definitions.

(define (alignment type size)
  (match type
    ((? number) size)
    (((or 'bytes 'string) _) 1)
    (_ 8)))

(define (expand-layout form name fields)
  (define (bad part message . arguments)
    (syntax-violation 'define-shm-layout
                      (apply format #f message arguments) form part))
  (define (layout-of type)
    (and (identifier? type)
         (call-with-values (lambda () (syntax-local-binding type))
           (lambda (kind value)
             (and (eq? kind 'macro)
                  (procedure-property value 'shm-layout))))))
  (define (parse field)
    "Return the name, type, counts, and the elements' size and alignment; and the
name and lines of the layout that the type is, or the empty list."
    (syntax-case field ()
      ((field type count ...)
       (identifier? #'field)
       (let ((size (element-size (syntax->datum #'type))))
         (for-each (lambda (count)
                     (unless (positive-integer? (syntax->datum count))
                       (bad count "the count ~s of field ~a is not a positive \
integer" (syntax->datum count) (syntax->datum #'field))))
                   #'(count ...))
         (cons*
          #'field #'type (map syntax->datum #'(count ...))
          (cond
           (size
            (list size (alignment (syntax->datum #'type) size) '()))
           ((eq? (syntax->datum #'type) (syntax->datum name))
            (bad #'type "layout ~a would be a part of itself, by field ~a"
                 (syntax->datum name) (syntax->datum #'field)))
           ((layout-of #'type))
           (else
            (bad #'type "~s, the type of field ~a, is not a type or a layout"
                 (syntax->datum #'type) (syntax->datum #'field)))))))
      (_ (bad field "not a field, (FIELD TYPE COUNT ...)"))))
  (when (null? fields)
    (bad name "~a has no field" (syntax->datum name)))
  (when (element-size (syntax->datum name))
    (bad name "~a is the name of a type" (syntax->datum name)))
  (let next ((fields (map parse fields)) (end 0) (widest 1) (placed '()))
    (match fields
      (()
       (define-names bad name (aligned end widest) widest (reverse placed)))
      (((name type counts size alignment within) . rest)
       (let ((offset (aligned end alignment)))
         (next rest
               (+ offset (* size (elements counts)))
               (max widest alignment)
               (cons (list name offset size type counts within) placed)))))))

(define (aligned offset alignment)
  (* alignment (ceiling-quotient offset alignment)))

(define (field-lines fields)
  (append-map
   (match-lambda
     ((field offset _ type counts within)
      ;; A layout may be known here by a name that it does not have elsewhere.
      (let ((type (if (pair? within) (car within) (syntax->datum type)))
            (lines (if (pair? within) (cdr within) '())))
        (cons (string-join
               `(,(number->string offset) ,(plain (syntax->datum field))
                 ,(type-text type) ,@(map number->string counts)))
              (map (lambda (line) (string-append " " line)) lines)))))
   fields))

;; Not as write has it, which depends on options of the reader.
(define (plain symbol)
  "Return the name of SYMBOL without white space and control characters."
  (string-concatenate
   (map (lambda (c)
          (if (and (char-set-contains? char-set:graphic c)
                   (not (char=? c #\\)))
              (string c)
              (format #f "\\x~a;" (number->string (char->integer c) 16))))
        (string->list (symbol->string symbol)))))

(define (type-text type)
  (match type
    ((head n) (format #f "(~a ~a)" head n))
    (_ (plain type))))

(define (fnv-1a text)
  "Return the 64-bit FNV-1a hash of TEXT in UTF-8; see
http://www.isthe.com/chongo/tech/comp/fnv/."
  (fold (lambda (byte hash)
          (logand (* (logxor hash byte) #x100000001b3) #xffffffffffffffff))
        #xcbf29ce484222325
        (bytevector->u8-list (string->utf8 text))))

(define (property-of id key)
  "Return a property of the transformer that ID has in the module that is being
compiled, or #f."
  (let* ((variable (module-local-variable (current-module) id))
         (value (and variable
                     (variable-bound? variable)
                     (variable-ref variable))))
    (and (macro? value)
         (procedure-property (macro-transformer value) key))))

(define (source-of id)
  "Return what another layout has defined ID for, or #f; not for a field that
the layout no longer has."
  (let ((source (property-of id 'shm-field)))
    (and source
         (memq id (or (property-of (car source) 'shm-names) '()))
         source)))

;; A layout, or a field of one.
(define described
  (match-lambda
    ((layout) (format #f "layout ~a" layout))
    ((layout field) (format #f "field ~a of layout ~a" field layout))))

(define (define-names bad name size widest fields)
  "Return the definitions of the layout NAME; BAD raises a syntax error."
  (define layout (syntax->datum name))
  (define lines (field-lines fields))
  (define text
    (string-join (cons (format #f "~a ~a" (plain layout) size) lines) "\n" 'suffix))
  (define defined '())
  (define (claim! id part . field)
    (let* ((source (cons layout (map syntax->datum field)))
           (here (assq-ref defined id))
           (other (or here (source-of id))))
      (when (equal? here source)
        (bad part "field ~a is there twice" (syntax->datum part)))
      (when (and other (or here (not (eq? layout (car other)))))
        (bad part "~a would be both of ~a and of ~a" id (described other)
             (described source)))
      (set! defined (acons id source defined))
      source))
  (define (definitions field offset size type counts)
    (define base (symbol-append layout '- (syntax->datum field)))
    (define (define-accessor kind id)
      (let ((source (claim! id field field)))
        #`(define-syntax #,(datum->syntax name id)
            (accessor '#,(literal source) '#,(literal kind) '#,(literal id)
                      #,offset #,size '#,type '#,(literal counts)))))
    (map define-accessor
         '(offset get set)
         (cons (symbol-append base '-offset)
               (take (list base (symbol-append 'set- base '!))
                     (match (syntax->datum type)
                       (('string _) 2)
                       (((or 'bytes 'channel) _) 1)
                       ((? number) (if (null? counts) 2 1))
                       (_ 0))))))
  (define accessors
    (append-map (match-lambda
                  ((field offset size type counts _)
                   (definitions field offset size type counts)))
                fields))
  (claim! layout name)
  (when (> (string-length text) max-layout-text)
    (bad name "the description of ~a has more than ~a characters" layout
         max-layout-text))
  ;; Another one if the layout is redefined, so that what was compiled before
  ;; keeps the layout that its offsets are from.
  (with-syntax ((variable (literal (symbol-append
                                    layout '-
                                    (string->symbol
                                     (number->string (fnv-1a text) 16))))))
    #`(begin
        (define variable
          (make-layout '#,name #,size #,text #,(fnv-1a text)
                       (list #,@(map field-expression fields))))
        (define-syntax #,name
          (layout-transformer #'variable '#,name #,size #,widest
                              '#,(literal lines)
                              '#,(literal (map car defined))))
        #,@accessors)))

(define field-expression
  (match-lambda
    ((name offset size type counts _)
     #`(cons* '#,name #,offset #,(* size (elements counts))
              #,(if (element-size (syntax->datum type)) #`'#,type type)
              '#,(literal counts)))))
